.PHONY: setup format lint test bench docs check

setup:
	pip install -e '.[dev]'

format:
	ruff format .
	ruff check --fix .

lint:
	ruff format --check .
	ruff check .
	mypy
	lint-imports

test:
	pytest

bench:
	python -m benchmarks.run_all

docs:
	cog -r docs/cli.md

check: lint test
	cog --check docs/cli.md
