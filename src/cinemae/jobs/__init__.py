"""Long work over many images, each job a function that a command calls: pretrain, extract, train, export."""
