// Package pages reads and writes sealed Parquet files page by page: page i of each column of a row group has the same rows, so that a reader
// can go to a few rows and leave the rest alone, and values are handed over in typed slices and not one by one.
//
// A File may be used by any number of goroutines; a Reader and a Writer by one.
package pages
