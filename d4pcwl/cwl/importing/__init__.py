"""Importing CWL: a document becomes a stream graph, and runs as one. cwltool's library loads and
checks documents, evaluates expressions and runs tools. Our own code passes values between the
steps. The command ``d4pcwl-runner`` imports from here; nothing else in ``cwl`` does.
"""
