#!/bin/sh
# Makes the secrets of compose.yaml in docker/secrets, each once: random, never printed. Run again, it changes nothing.
# The folder is closed to others; the files are not, because containers read them as users that this machine may not know.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
for name in ray_token postgres_password mlflow_database_password studies_password mlflow_admin_password \
    mlflow_secret_key dashboard_password; do
    [ -s "secrets/$name" ] && continue
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$name.new"
    chmod 444 "secrets/$name.new"
    mv "secrets/$name.new" "secrets/$name"
done
