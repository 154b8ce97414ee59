# Each error that a public function lists, with the start of its sentence.
