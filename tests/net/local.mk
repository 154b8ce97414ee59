# Jobs across two hosts made of network namespaces.
