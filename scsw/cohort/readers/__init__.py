"""One reader per public source; docs/adding-a-cohort.md tells what a reader is."""
