//! Collects, keeps and queries what services report: the trace store.
