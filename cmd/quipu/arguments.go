package main

import "github.com/spf13/cobra"

// noArguments refuses what stands behind a command that takes nothing but flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// oneArgument wants one argument, which usage and errors call by that name.
func oneArgument(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usagef("%s is missing", name)
		case 1:
			return nil
		}
		return usagef("unexpected argument %q behind %s", args[1], name)
	}
}

// upToOneArgument takes one argument or none.
func upToOneArgument(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return oneArgument(name)(c, args)
	}
}
