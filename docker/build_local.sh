#!/bin/sh
# Builds the image without a container engine or a registry, for root on a Debian system, and runs the demo in it.
#
#     sh docker/build_local.sh FOLDER MNIST
#
# A base like python:slim is made with mmdebstrap and the Dockerfile is built as it is by buildah, from wheels that PIP
# fetches (the pip of a Python like the base's, Debian's own). The demo's first trial runs as the image's user, without a
# network, on a root that cannot be written. FOLDER takes some gigabytes and is used again; MNIST holds the four files
# of MNIST.
set -eu
cd "$(dirname "$0")/.."
folder=$(realpath -m "$1")
mnist=$(realpath "$2")
mkdir -p "$folder"
export BUILDAH_ISOLATION=chroot TMPDIR="$folder"

builder() { buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }

make_base() {
    [ ! -s "$folder/base.tar" ] || return 0
    # shellcheck source=/dev/null
    . /etc/os-release
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        "$VERSION_CODENAME" "$folder/base.tar.new"
    mv "$folder/base.tar.new" "$folder/base.tar"
}

make_base &
"${PIP:-pip}" wheel --quiet --disable-pip-version-check -w "$folder/wheels" -c constraints.txt setuptools '.[server]'
wait $!

builder rm --all >/dev/null
trap 'builder rm --all >/dev/null' EXIT
container=$(builder from scratch)
builder add --quiet "$container" "$folder/base.tar" / >/dev/null
builder commit --quiet --rm "$container" base >/dev/null
builder build --quiet --pull-never --layers=false --force-rm --format docker --file docker/Dockerfile \
    --ignorefile docker/Dockerfile.dockerignore --volume "$folder/wheels:/wheels:ro" --build-arg BASE=localhost/base \
    --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels --tag adversarial-tuner .

container=$(builder from --pull-never localhost/adversarial-tuner)
root=$(builder mount "$container")
builder inspect --type image --format '{{range .Docker.Config.Env}}{{println .}}{{end}}' adversarial-tuner \
    > "$folder/environment"
user=$(builder inspect --type image --format '{{.Docker.Config.User}}' adversarial-tuner)
rm -rf "$folder/shared"
install -d -o "${user%:*}" -g "${user#*:}" "$folder/shared"

set -- bwrap --die-with-parent --unshare-net --unshare-pid --cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID \
    --cap-add CAP_SETPCAP --clearenv --ro-bind "$root" / --proc /proc --dev /dev --perms 1777 --tmpfs /dev/shm \
    --perms 1777 --tmpfs /tmp --bind "$folder/shared" /shared --ro-bind "$mnist" /mnt --chdir /tmp
while IFS='=' read -r name value; do
    [ -z "$name" ] || set -- "$@" --setenv "$name" "$value"
done < "$folder/environment"
"$@" -- setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all entrypoint sh -c '
    set -e
    id
    if touch /x /opt/tuner/x 2>/dev/null; then echo "the root can be written" >&2; exit 1; fi
    tuner spaces show quick | sed "/^baselines/d" > /tmp/quick.yaml
    RAY_worker_niceness=0 tuner launch /tmp/quick.yaml --data /mnt --trials 1
    tuner export quick --output /shared/best'
du -sh "$root"
