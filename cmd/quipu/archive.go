package main

import "github.com/spf13/cobra"

func newArchiveCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{
		Use:   "archive",
		Short: "Look after cold storage",
		Long: `Looks after what is in cold storage.

Settings: the section archive; archive.url says where cold storage is.`,
		Example: `  quipu archive raw status
  quipu archive recount --type view --from 2026-11-22T00:00:00Z --to 2026-11-23T00:00:00Z`,
	}
	parent.AddCommand(newArchiveRawCommand(s), newArchiveRecountCommand(s))
	return parent
}
