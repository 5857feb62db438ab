"""What a person looks at: pages, pictures and tables, made from the files of run folders and nothing else."""
