package flights

// The sample and the list of airports are made from the whole data set, which needs npm; the same package always gives the same
// bytes. "go run ./internal/mksample -check" compares instead of writing.
//
//go:generate go run ./internal/mksample
