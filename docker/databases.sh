#!/bin/sh
# PostgreSQL runs this once, when it is empty: one role for MLflow, one for the studies, each with databases of its own.
set -eu
role() {
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set role="$1" --set password="$(cat "/run/secrets/$2")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
}
database() {
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --set name="$1" --set role="$2" <<'SQL'
CREATE DATABASE :"name" OWNER :"role";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}
role mlflow mlflow_database_password
role tuner studies_password
database mlflow mlflow
database mlflow_auth mlflow
database studies tuner
