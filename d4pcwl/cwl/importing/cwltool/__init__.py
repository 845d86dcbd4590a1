"""The use of cwltool's library: it loads and checks documents and job orders, evaluates
expressions, and runs tools. No other room imports cwltool."""
