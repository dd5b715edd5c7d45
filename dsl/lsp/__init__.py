"""The language server: what editors ask about a program, answered by the front end. Needs the extra ``unspool[lsp]``; loads no torch."""
