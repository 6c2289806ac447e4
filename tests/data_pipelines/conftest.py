from pipelines_sounds import dataset, tones  # noqa: F401 - fixtures
