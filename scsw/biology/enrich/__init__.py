"""Gene sets of the candidates' genes, against random genes and matched controls."""
