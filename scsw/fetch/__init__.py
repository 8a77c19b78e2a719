"""Getting cohort files: from S3, CELLxGENE Discover and Synapse."""
