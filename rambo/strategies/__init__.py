"""Who chooses what is labelled: facts about each strategy, what it is asked and answers, and a file for each."""
