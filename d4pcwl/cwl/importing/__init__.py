"""CWL comes in: a document becomes a stream graph and is run as one. cwltool's library loads and
checks documents, evaluates expressions and runs tools; what flows between the steps is ours. The
command ``d4pcwl-runner`` imports from here; nothing else in ``cwl`` does.
"""
