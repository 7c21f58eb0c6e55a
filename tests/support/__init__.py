"""What tests of several folders use to set things up."""
