"""What readers are made of: CSV rows with line numbers, the grammar of ``--features``, joins, labels, and the checked corpus."""
