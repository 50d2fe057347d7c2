# No image is built by the project's checks. `hadolint Dockerfile` finds nothing, and an ordinary user ran these very
# commands on a bare host. Settings come from the environment; all data stand in the volume.
FROM python:3.12-slim
WORKDIR /build
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE workspace.yaml ./
COPY data/definitions data/definitions
COPY sql sql
COPY pipeline pipeline
RUN pip install --no-cache-dir --no-build-isolation --no-deps . && useradd --create-home --uid 1000 driptune
USER 1000
WORKDIR /home/driptune
RUN mkdir data
VOLUME /home/driptune/data
EXPOSE 3000
CMD ["driptune", "up", "--host", "0.0.0.0"]
