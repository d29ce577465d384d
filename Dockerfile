# The server, the worker and the migration: docker run IMAGE serve, worker, migrate.
# hadolint, in make check, and a builder without BuildKit both take this file.

FROM python:3.13-slim AS dependencies
WORKDIR /build
COPY requirements.txt ./
# Wheels only: there is no compiler here, and nothing of a package runs while it is installed.
# Less what botocore knows of 400 services beside the store and the ways to its credentials.
RUN python -m pip install --no-cache-dir --root-user-action=ignore --require-hashes \
        --only-binary=:all: --prefix=/build/installed -r requirements.txt \
    && find installed/lib -path '*/botocore/data/*' -prune -type d ! -name s3 ! -name sts \
        ! -name 'sso*' ! -name signin -exec rm -r {} +

FROM python:3.13-slim
ENV APP_ENV=production \
    HOST=0.0.0.0 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
# Programs that ask for the name of user 10001 fail if it has none. It does not have the name of the
# service, because that may be a name that Debian has taken, such as "mail".
# What installs packages is of no use to the service, and of some to whoever breaks in.
RUN useradd --uid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin service \
    && rm -r "$(python -c 'import ensurepip; print(*ensurepip.__path__)')" \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore pip
COPY --from=dependencies /build/installed /usr/local
WORKDIR /service
COPY alembic.ini ./
COPY migrations migrations/
COPY app app/
# Now, for later the file system is root's, and may be read-only.
RUN python -m compileall -q app migrations
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
# Of the server; for a worker it is: python -m app jobs check
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "app.probe"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
