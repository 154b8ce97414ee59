# Tests of one room, without peers.
