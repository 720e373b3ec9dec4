.PHONY: setup format lint test slow bench docs site check

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
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	zizmor --offline --quiet .github

test:
	pytest

slow:
	pytest -n 0 -m slow

bench:
	python -m benchmarks.run_all

docs:
	cog -r docs/cli.md docs/evaluation.md

site:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

check: lint test slow site
	cog --check docs/cli.md docs/evaluation.md
