# Measurements of this machine: tables on standard output, JSON in bench/results/.

.PHONY: bench-catch-up bench-durability
bench-catch-up: programs ## a replica 1,000,000 keys behind catches up, and restarts (about 5 minutes; KEYS=N)
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' bench/catch_up.sh
bench-durability: programs ## what durability costs: memory, async and sync side by side (about 2 minutes)
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' bench/durability.sh
