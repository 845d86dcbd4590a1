# d4pcwl, and what the examples import, for DockerRequirement:
#
#     docker build -t d4pcwl .
#     d4p2cwl SCRIPT --docker d4pcwl
#
# EXTRAS chooses the optional parts of d4pcwl; what else a script imports is best added in an image of
# its own that begins with `FROM d4pcwl`. `scripts/image` builds the same without a registry.
ARG BASE=python:3.12-slim

FROM $BASE AS build
LABEL stage=d4pcwl-build
# pip takes these from the environment, so that it can be sent to a mirror or to a folder of wheels.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG EXTRAS=seismology
WORKDIR /source
COPY . .
RUN python3 -m venv /opt/d4pcwl \
    && /opt/d4pcwl/bin/pip install --no-cache-dir --disable-pip-version-check ".[$EXTRAS]" \
    && /opt/d4pcwl/bin/pip uninstall --yes --disable-pip-version-check pip

FROM $BASE
COPY --from=build /opt/d4pcwl /opt/d4pcwl
ENV PATH=/opt/d4pcwl/bin:$PATH
# Nothing is written outside the working folder and /tmp: the image runs as any user, read-only.
WORKDIR /tmp
# Engines give their own command. StreamFlow keeps a container open with this one.
CMD ["bash"]
