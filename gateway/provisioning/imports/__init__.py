"""Imports of people from CSV: the file is read (`csv_files`), decided row by row (`row_plans`), applied (`imports`)."""
