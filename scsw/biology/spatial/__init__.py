"""What an intact and a pruned model make of cells whose place in the tissue is known."""
