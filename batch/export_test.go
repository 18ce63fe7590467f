package batch

// CheckContents does one round of comparing contents with rows.
var CheckContents = (*Engine).checkContents
