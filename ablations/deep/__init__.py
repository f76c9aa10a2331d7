"""What `verify --deep` does: below the trial folders to the store, and where asked for to trainings anew."""
