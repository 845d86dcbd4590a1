"""The folder of an assessment: its files.

    misfit_data/
        events_info.xml     the event, QuakeML
        processing.json     the processing chains
        download.json       what to download, see ra_request; only where something is
        observed/           NET.STA.LOC.CHA.mseed, raw counts
        stations/           NET.STA.xml, StationXML with instrument responses
        downloaded.json     written by the download, see ra_fdsn
        synth/              NET.STA.CHA.semv.sac, velocity, times relative to the origin
        processed/          written by the preprocessing, see ra_processed

A source directory, which waveforms are taken from, has the same layout.
"""

from __future__ import annotations

EVENT_FILE = "events_info.xml"
SETTINGS_FILE = "processing.json"
REQUEST_FILE = "download.json"
DOWNLOADED_FILE = "downloaded.json"
#: The waveforms and responses that belong to an assessment, by subfolder.
CONTENT = {"observed": "*.mseed", "stations": "*.xml", "synth": "*.sac"}
COMPONENTS = ("E", "N", "Z")
#: Of several instruments at a station the first complete one in this order is used.
BANDS = ("BH", "HH", "EH")


class StationError(Exception):
    """One station cannot be used. It is left out with a message, and the run goes on."""


class SettingsError(Exception):
    """What all stations share (event, settings, folders) is wrong: the run must end."""
