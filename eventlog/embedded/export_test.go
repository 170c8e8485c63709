package embedded

// InjectFaults makes file operations of l fail as f says. Call it before Open.
func (l *Log) InjectFaults(f func(operation, path string) error) { l.faults = faultFunc(f) }

type faultFunc func(operation, path string) error

func (f faultFunc) before(operation, path string) error { return f(operation, path) }
