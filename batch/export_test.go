package batch

// CheckContents does one round of comparing contents with rows.
var CheckContents = (*Engine).checkContents

// LookOften has an engine look at its backlog whenever it is asked.
func LookOften(e *Engine) { e.backlog.age = 0 }
