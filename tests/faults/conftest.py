import faulty_runs
import pytest
from faulty_runs import training_runs


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    faulty_runs.end_all()


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def cache(place):
    return place / "cache"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return training_runs.write_dataset(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="session")
def experiment_file(place, dataset):
    return faulty_runs.write(place / "small.py", faulty_runs.experiment(dataset))


@pytest.fixture(scope="session")
def undisturbed(place, experiment_file, cache):
    """The work directory of a run without faults."""
    faulty_runs.finished(faulty_runs.start(experiment_file, place / "undisturbed", cache=cache))
    return place / "undisturbed"
