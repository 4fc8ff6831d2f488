# The two commands of this project, and two more. All of it is in packaging/bootstrap.py, which also runs without make.
PYTHON ?= python3

.PHONY: run test soak clean

run: ## set up if need be, and open the window (ARGS go to the program)
	@$(PYTHON) packaging/bootstrap.py run $(ARGS)

test: ## set up if need be, and run all that CI runs
	@$(PYTHON) packaging/bootstrap.py test

soak: ## the long tests (ARGS go to pytest)
	@$(PYTHON) packaging/bootstrap.py soak $(ARGS)

clean: ## remove what set-up and tools made in this folder
	@$(PYTHON) packaging/bootstrap.py clean
