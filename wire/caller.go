package wire

import "context"

// HeaderCaller names on whose behalf one process calls another. It is believed only of Quipu's own processes.
const HeaderCaller = "Quipu-Caller"

type callerKey struct{}

// WithCaller says on whose behalf the calls of a context are made.
func WithCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// CallerOf returns on whose behalf a request is made: the name of the token that came with it, or "" if that is not known.
func CallerOf(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}
