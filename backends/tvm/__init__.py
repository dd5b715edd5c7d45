"""TVM: loop trees as TVMScript."""
