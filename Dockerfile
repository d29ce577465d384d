# The image of the service. Its commands are those of the command line, for example
# docker run IMAGE serve (or worker, or migrate). It can be built with or without BuildKit.

# The digest pins the content. A build argument can name a local image instead. The version is the
# fastest one: docs/decisions/python-version.md has the figures.
ARG PYTHON_IMAGE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON_IMAGE} AS dependencies
WORKDIR /build
COPY requirements.txt ./
# Install wheels only, because there is no compiler, and so that packages cannot run code during the
# installation. Then delete botocore's descriptions of 400 AWS services. Only those of S3 and of the
# services that provide credentials are needed.
RUN python -m pip install --no-cache-dir --root-user-action=ignore --require-hashes \
        --only-binary=:all: --prefix=/build/installed -r requirements.txt \
    && find installed/lib -path '*/botocore/data/*' -prune -type d ! -name s3 ! -name sts \
        ! -name 'sso*' ! -name signin -exec rm -r {} +

FROM ${PYTHON_IMAGE}
ENV APP_ENV=production \
    HOST=0.0.0.0 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
# Create the user 10001, because some programs fail if the user has no name. The name is not that of
# the service, which may be the name of a user of Debian, such as "mail".
# Remove pip, which the service does not need but an attacker could use.
RUN useradd --uid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin service \
    && rm -r "$(python -c 'import ensurepip; print(*ensurepip.__path__)')" \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore pip
COPY --from=dependencies /build/installed /usr/local
WORKDIR /service
COPY alembic.ini ./
COPY migrations migrations/
COPY app app/
# Compile now, because the service cannot write to these directories later.
RUN python -m compileall -q app migrations
# A number, because Kubernetes cannot tell from a name that the user is not root (runAsNonRoot).
USER 10001:10001
# This health check is for a server. For a worker, use: python -m app jobs check
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "app.probe"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
