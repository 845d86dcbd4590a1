cwlVersion: v1.2
class: CommandLineTool
label: Make one table of many
baseCommand: [awk, NR == 1 || FNR > 1]
inputs:
  tables:
    type: File[]
    inputBinding: {position: 1}
outputs:
  table:
    type: stdout
stdout: cells.csv
