# What the libraries export, who includes whom, and what the documentation covers.
