# Manual pages, dist_man_MANS += man/NAME.3: one a public header, one a tool.
