"""What tuners are fitted to, a task a file, and how long and with how many threads they may work."""
