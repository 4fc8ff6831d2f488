"""The Hub, and what is fetched from it: the one way to the network, addresses, downloads that outlive the program."""
