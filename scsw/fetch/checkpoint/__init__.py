"""`scsw checkpoint get`: a public scGPT folder from Hugging Face or Google Drive, checked."""
