# Jobs of several ranks on this node.
