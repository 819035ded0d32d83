# An example worker in Python. Its folder is the context. What it needs is installed while the image
# is built, so that it starts without a network and with a file system that it cannot write to.
FROM python:3.14.7-slim-trixie
WORKDIR /worker
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt && mkdir /data && chown 65532:65532 /data
COPY *.py .
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
CMD ["python3", "worker.py"]
