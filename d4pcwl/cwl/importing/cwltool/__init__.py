"""What we ask of cwltool's library: documents and job orders are loaded and checked, expressions
are worked out, tools are run. No other room imports cwltool."""
