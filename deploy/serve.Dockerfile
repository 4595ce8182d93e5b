# A model behind HTTP. Build in the checkout; the folder of results is mounted when it runs:
#   docker build -f deploy/serve.Dockerfile -t headstart-serve .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/results:/results:ro" headstart-serve
# It has no password: keep it on this machine, or put a proxy in front.
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    HF_HUB_DISABLE_TELEMETRY=1

WORKDIR /opt/headstart
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY pipeline ./pipeline
RUN pip install -c constraints.txt ".[serve]" \
    && useradd --create-home --uid 1000 headstart

USER 1000
WORKDIR /home/headstart
EXPOSE 8000
HEALTHCHECK --start-period=30s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/model', timeout=5)"]
ENTRYPOINT ["headstart", "serve"]
CMD ["/results", "--host", "0.0.0.0", "--port", "8000"]
